"""A report as one page that opens offline."""

import base64
import hashlib
from importlib.resources import files

from rlcap.reporting.page.blocks import html_of
from rlcap.reporting.page.escape import name, text
from rlcap.reporting.page.legend import legend_html
from rlcap.reporting.report import Report

GENERATOR = '<meta name="generator" content="rlcap report">'


def render_page(report: Report) -> str:
    """The report as one HTML document.

    Nothing is fetched or sent: pictures are data: URIs, the style and the one script are in the page, and no other
    script would run, since the policy names the script by its digest.
    """
    sections = report.sections
    links = "".join(f'<a href="#{section.anchor}">{text(section.title)}</a>' for section in sections)
    body = "".join(
        f'<section id="{section.anchor}"><h2>{text(section.title)}</h2>{html_of(section.blocks)}</section>'
        for section in sections
    )
    style, script = _resource("page.css"), _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
{GENERATOR}
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{text(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">Captions of the {name(report.split)} split</p>
<h1>{name(report.title)}</h1>
{legend_html(report.marks)}
</header>
<main>
{html_of(report.summary)}
<nav aria-label="Sections">{links}</nav>
{body}
</main>
<footer>Numbers in one column carry one signature. Text from run folders is shown as it was written.</footer>
<script>{script}</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return files("rlcap.reporting.page").joinpath(name).read_text(encoding="utf-8")
