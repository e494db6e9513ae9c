"""Penn Treebank tokens of a caption, as the COCO caption evaluation makes them, without its Java process.

pycocoevalcap runs Stanford's PTBTokenizer 3.4.1 (``-preserveLines -lowerCase``) and drops punctuation tokens. The
rules below were inferred from the published Penn Treebank conventions and from what that program answers to probes; its
source was not consulted. A caption is read as a line of its own: the original also looks past the end of a line, so
there a few captions depend on the one that follows them in the file.

At each position the rule with the longest match wins, what it looks ahead at included; the first rule wins a tie.
Characters that no rule takes (spaces, emoji) are dropped.
"""

import re
from collections.abc import Sequence

DROPPED = frozenset(
    ["'", "''", "`", "``", ".", "...", "....", ".....", "?", "!", ",", ":", ";", "-", "--", "---", "----"]
)

# Dotted abbreviations that stand before a name, and those that may end a sentence, which need two more characters to
# win over a dotted word. Some count only when capitalised, being words otherwise; some only before a number.
TITLES = """
adj adm adv alex assoc asst attys? ave brig capt cf cie cmdr col comdr cpl dept det dr drs elec ens ft gen gov govs
hon insp invt jos lieut lt maj messrs mfg mlle mme mr mrs ms msgr mt mtg natl pfc ph pptes pptys pres profs? pvt rep
reps rev sen sens sfc sgt spc st ste supts? treas vs wm
"""
ENDINGS = """
al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc ext feb fla fri
ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn plc ppte ppty
pte pty rd rt sep sept seq sq sr sys tel tenn thu thurs tue tues univ va vt wed wis wisc wyo
"""
CAPITALISED_ABBREVIATIONS = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"
NUMBERED_ABBREVIATIONS = "art ca figs? nos? op pp prop"

# Words that, capitalised after "K. ", begin a new sentence, so that "K" is no initial.
SENTENCE_STARTERS = """
a about according after an as at but earlier he her here however if in it last many more now once one other our she
since so some such that the their then there these they this we what when while yet you
"""

# Symbols outside ASCII that are tokens by themselves, and marks that continue a word (or begin one) like letters.
SYMBOLS = (
    r"\xa1\xa5-\xa9\xac\xae-\xb4\xb6-\xb9\xbf\xd7\xf7\u037e\u0387\u0589\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u0600-\u0603"
    r"\u0606-\u060c\u0614\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d\u07f6-\u07f8\u0964\u0965\u0e3f\u0e4f\u1fbd"
    r"\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a4\u2100"
    r"\u2101\u2103-\u2106\u2108\u2109\u2114\u2116-\u2118\u211e-\u2123\u2125\u2127\u2129\u212e\u213a\u213b\u2140-\u2144"
    r"\u214a-\u214d\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6"
)
MARKS = (
    r"\xad\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb\u02ed\u02ef-\u036f\u0375\u0384\u0385\u0483-\u0487\u0591-\u05bd\u05bf\u05c1"
    r"\u05c2\u05c4\u05c5\u05c7\u0615-\u061a\u064b-\u065e\u0670\u06d6-\u06e4\u06e7-\u06ed\u0730-\u074c\u0900-\u0903\u093c"
    r"\u093e-\u094e\u0951-\u0955\u0962\u0963\u0981-\u0983\u09bc-\u09cd\u09d7\u09e2\u09e3\u0a01-\u0a03\u0a3c-\u0a4f\u0a81-\u0a83"
    r"\u0abc-\u0acf\u0b82\u0bbe-\u0bcd\u0c01-\u0c03\u0c3e-\u0c56\u0d3e-\u0d48\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1"
    r"\u0eb4-\u0ebc\u0ec8-\u0ecd"
)

# What one token may become once it is found; a quotation mark of any kind becomes ', which is dropped.
QUOTES = dict.fromkeys('"`‘’“”‛‹›«»\x91\x92\x93\x94', "'")
DASHES = dict.fromkeys("–—―\x96\x97", "--")
MONEY = {"£": "#", "€": "$", "\x80": "$", "¤": "$", "₠": "$", "¢": "cents"}
FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
ENTITIES = {"&nbsp;": "", "&mdash;": "--", "&ndash;": "--", "&md;": "--", "&quot;": "'", "&apos;": "'"}
ENTITIES |= {"…": "...", "&amp;": "&", "&lt;": "<", "&gt;": ">"}
BRACKET_NAMES = str.maketrans({"(": "-lrb-", ")": "-rrb-"})
BRACKETS = {"[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
WHITESPACE = re.compile(r"\s")
CONTRACTION = re.compile(r"(?:['’\x92]|&apos;)(?:s|m|d|ll|re|ve|t)|n(?:['’\x92]|&apos;)t", re.IGNORECASE)
REPLACEMENTS = QUOTES | DASHES | MONEY | FRACTIONS | ENTITIES | BRACKETS


def _rules() -> list[re.Pattern[str]]:
    """The lexical rules, in order of precedence. Possessive quantifiers keep the long ones linear."""
    ascii_letter, apostrophe = "[A-Za-z]", "(?:['’\x92]|&apos;)"
    letter = rf"(?:[^\W\d_{SYMBOLS}¢£¤¼-¾⅓⅔\U00010000-\U0010ffff]|[{MARKS}]|&[AEIOUaeiou](?:acute|grave|uml);)"
    character = rf"(?:[^\W_{SYMBOLS}¢£¤¼-¾⅓⅔\U00010000-\U0010ffff]|[{MARKS}]|&[AEIOUaeiou](?:acute|grave|uml);)"
    word = f"{character}++"
    dotted = rf"{letter}{character}*+(?:[.!?]{letter}{character}*+)++"
    elided = rf"[DdLlOo]{apostrophe}{character}{{2}}{character}*+"
    part = f"{character}++(?:_{character}++)*+"
    initials = rf"(?:{ascii_letter}\.){{2,}}+"
    hyphenated = rf"(?:{elided}|{part})(?:[-\u058a\u2010\u2011](?:{elided}|{part}))++"
    hyphenated_ascii = rf"[A-Za-z0-9][A-Za-z0-9.,]{{0,255}}+(?:-(?:{initials}|[A-Za-z0-9]++(?!_)))++"
    slashed = f"{character}++(?:-{letter}++)*+"
    name = r"[A-Za-z][A-Za-z0-9_:.-]*+"
    attribute = rf"""\s++{name}(?:\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'))?+"""
    beyond = r"""[^\s"<>|(){}]"""
    number = r"(?:\d++(?![.,:]\d)|\d*+(?:[.,:]\d++)++)"
    smile_end = r"(?=[^A-Za-z0-9])"
    titles = "|".join(TITLES.split())
    capitalised = "|".join(f"{word}|{word.upper()}" for word in CAPITALISED_ABBREVIATIONS.split())
    endings = rf"(?i:{'|'.join(ENDINGS.split())}|ph\.d)|{capitalised}"
    starters = "|".join(f"{word.title()}|{word.upper()}" for word in SENTENCE_STARTERS.split())
    rules = [
        # Markup, addresses, names on social networks.
        rf"<{name}(?:{attribute})*+\s*+/?>|</{name}\s*+>|<[!?][^<>]++>",
        rf"(?i:https?)://(?>{beyond}{{1,255}}?\.){beyond}*[^\s\"<>|(){{}}.!?,;:'-]",
        rf"{ascii_letter}[A-Za-z0-9]*+(?:\.{ascii_letter}[A-Za-z0-9]*)*\.(?i:com|net|org|edu)"
        rf"(?:/{beyond}+|\?{beyond}*)[^\s\"<>|(){{}}.!?,;:'-]",
        r"<?[A-Za-z0-9][^\s\"<>|()@]{0,255}+@(?:[^\s\"<>|().]++\.)*[^\s\"<>|().]++>?",
        rf"@[A-Za-z_][A-Za-z0-9_]*+|#{letter}++",
        # Contractions; "cannot" and its kind are two words.
        rf"((?i:can(?=not)|gon(?=na)|wan(?=na)|got(?=ta)|gim(?=me)|lem(?=me)))(?i:not|na|ta|me)(?!{character})",
        r"('[Tt])(?i:is|was)",
        r"((?i:[a-z]*[a-mo-z]))(?i:n(?:['’\x92`]|&apos;)t)",
        rf"(?i:n(?:['’\x92`]|&apos;)t){ascii_letter}*+",
        rf"({character}++){apostrophe}(?i:s|m|d|ll|re|ve)(?![A-Za-z])",
        rf"({apostrophe}(?i:s|m|d|ll|re|ve))[^A-Za-z]",
        rf"{apostrophe}(?:(?i:em|till?|cause|n{apostrophe}?+)|[2-9]0s)|({apostrophe}\d\d)\s",
        rf"({apostrophe})[A-Za-z][^\s]",
        # Words with an apostrophe.
        rf"{elided}|(?:(?![IY])[A-Z]|n){apostrophe}{letter}{{2}}{letter}*+|[DdJjLl]{apostrophe}|([Yy]{apostrophe}){letter}",
        rf"(?i:[a-z]*[a-z][aeiouy]{apostrophe}(?:[aeiou]|(?-i:[A-Z]))[a-z]*+)",
        rf"(?i:c'mon|(?:ol|dunkin|somethin){apostrophe}|e{apostrophe}er|s{apostrophe}mores|cap{apostrophe}n)",
        # Numbers: telephones, fractions, then the rest.
        r"(?:\(\d{2,3}\) ?|\+{0,2}(?:\d{2,4}[ -]){1,2})\d{3,4}[ -]?\d{3,5}",
        r"(?:\d{1,4}[ -])?\d{1,4}(?:/|⁄)\d{1,4}",
        rf"[+-]?{number}",
        # Abbreviations, initials, dotted and joined words.
        rf"(?i:{titles})\.",
        rf"(?:{endings})\.",
        rf"((?i:{'|'.join(NUMBERED_ABBREVIATIONS.split())})\.)\s?\d",
        rf"{initials}|{ascii_letter}\.",
        rf"({ascii_letter})\.\s++(?:{starters})\s",
        rf"((?:{hyphenated_ascii}|{hyphenated}|{dotted}|{elided}|{part})\.)[,;:]",
        hyphenated_ascii,
        hyphenated,
        rf"{slashed}(?:\\?/{slashed}){{1,2}}+",
        dotted,
        rf"((?:{endings})\.)[\s\S]{{2}}",
        rf"{word}(?:_{word})*+",
        # Signs.
        r"[A-Z]++(?:(?:&amp;|&|\+)[A-Z]++)++|[Cc]\+\+|[CcFf]#|[A-Z]++\$",
        r"(?i:&(?:amp|lt|gt|nbsp|mdash|ndash|md|quot|apos|ht|tl|ur|lr|qc|ql|qr|odq|cdq|#\d++);)",
        rf"([<>]?[:;=][*o'-]?[()DdPpO@|\\\[\]{{]){smile_end}",
        r"[\^x=~<>'-]_[\^x=~<>'-]|\([\^x=~<>'-][_.-]?[\^x=~<>'-]\)",
        r"\.{3,5}|-{5,}|-{2,4}|[!?]++|\*++|_++|\#++|\\\*++|<<|>>|''|``",
        rf"[!-~{SYMBOLS}]|{'|'.join(re.escape(mark) for mark in REPLACEMENTS if len(mark) == 1)}",
    ]
    return [re.compile(rule) for rule in rules]


RULES = _rules()

# Signs of a token that spans or looks beyond a space: a caption that has one is read whole, not word by word.
ACROSS_SPACES = re.compile(r"[<\d).](?:(?<=<)|\s\W?\d|(?<=\b[A-Za-z]\.)\s+[A-Z])")
SPECIAL_WORDS = (
    f"cannot gonna wanna gotta gimme lemme {TITLES} {ENDINGS} {CAPITALISED_ABBREVIATIONS} {NUMBERED_ABBREVIATIONS}"
)
PLAIN_WORD = re.compile(
    rf"(?!(?:{'|'.join(SPECIAL_WORDS.split())})[.,]*$)[a-z]+(?:,*|(?<=[a-z]{{2}})\.)", re.IGNORECASE | re.ASCII
)
LONGEST_REMEMBERED = 64  # characters; longer pieces are seldom met twice
MOST_REMEMBERED = 1 << 17
LONGEST_CAPTION_REMEMBERED = 512
MOST_CAPTIONS_REMEMBERED = 1 << 15


def _spelling(token: str) -> str:
    """The token as the original prints it, empty when it is dropped."""
    token = REPLACEMENTS.get(token, token)
    if len(token) > 1:
        if CONTRACTION.fullmatch(token):
            token = token.replace("&apos;", "'").replace("’", "'").replace("\x92", "'")
        token = token.replace("\xad", "").replace("&amp;", "&")
        token = WHITESPACE.sub("\xa0", token)
    token = token.lower().translate(BRACKET_NAMES)
    return "" if token in DROPPED else token


def _read(text: str) -> str:
    """Tokens of a text, by the rules, joined by spaces."""
    text, start, tokens = text + "\n", 0, []
    while start < len(text):
        longest, end = start, start + 1
        for rule in RULES:
            match = rule.match(text, start)
            if match and match.end() > longest:
                longest, end = match.end(), match.end(match.lastindex or 0)
        if longest > start:
            tokens.append(_spelling(text[start:end]))
        start = end
    return " ".join(filter(None, tokens))


class _Pieces(dict[str, str]):
    """Tokens of each piece of text between spaces, remembered up to a limit."""

    def __missing__(self, piece: str) -> str:
        tokens = piece.rstrip(".,").lower() if PLAIN_WORD.fullmatch(piece) else _read(piece)
        if len(piece) <= LONGEST_REMEMBERED:
            if len(self) >= MOST_REMEMBERED:
                self.clear()
            self[piece] = tokens
        return tokens


PIECES = _Pieces()


class _Captions(dict[str, str]):
    """Tokens of each caption: several rewards of a step ask for the same, and a policy says the same again."""

    def __missing__(self, caption: str) -> str:
        if ACROSS_SPACES.search(caption):
            tokens = _read(" ".join(caption.splitlines()))
        else:
            tokens = " ".join(filter(None, map(PIECES.__getitem__, caption.split())))
        if len(caption) <= LONGEST_CAPTION_REMEMBERED:
            if len(self) >= MOST_CAPTIONS_REMEMBERED:
                self.clear()
            self[caption] = tokens
        return tokens


CAPTIONS = _Captions()


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Tokens of each caption, lower-cased, without punctuation, joined by single spaces."""
    return list(map(CAPTIONS.__getitem__, captions))
