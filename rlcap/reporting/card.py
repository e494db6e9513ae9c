"""The model card of a policy that a run trained: Hugging Face's metadata, then what a reader needs, in Markdown."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jaxtyping import Float

from rlcap.markdown import clean, plain, table
from rlcap.reporting.origin import Origin, class_name, without_folders
from rlcap.reporting.reading.files import ReportError, Source, as_count, as_mapping, as_number, write_aside
from rlcap.reporting.reading.mappings import read_mapping
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.statistics.estimates import Difference, difference
from rlcap.reporting.statistics.resampling import image_resamples, mean_runs_of

EXAMPLES = 5
RESAMPLES = 2000
_SEED = 0
_MARK = re.compile(r"<!-- Written by rlcap card; SHA-256 of the text above: ([0-9a-f]{64}) -->\n\Z")


def write_card(text: str, file: Path) -> None:
    """Write a card; one that was edited by hand, or that somebody else wrote, is not overwritten.

    Raises:
        ReportError: if such a file is there, or the card cannot be written.
    """
    try:
        if file.exists() and not unedited(file.read_text(encoding="utf-8", errors="replace")):
            raise ReportError(
                f"{file} was written or edited by hand and stays as it is: name another file with --output"
            )
        write_aside(file, text)
    except OSError as error:
        raise ReportError(f"cannot write the card to {file}: {error.strerror}") from error


def unedited(text: str) -> bool:
    """Whether a card is as ``render_card`` gave it."""
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def render_card(run: Run, name: str, split: str, origin: Origin, policy: Path, baseline: Run | None = None) -> str:
    """The card's text, its last line a comment that holds its digest.

    Args:
        run: read with the evaluation of the split.
        name: of the policy.
        split: that of the results.
        origin: what the policy was before the run.
        policy: the folder of its files.
        baseline: the run that it is compared with, read with the same split.
    """
    body = [
        f"# {plain(name)}",
        _summary(run, origin),
        "## How to use it",
        _usage(run, read_mapping(Source(policy, "config.json"), [])),
        "## Results",
        _results(run, split, baseline),
        "## Examples",
        _examples(run),
        "## How it was trained",
        _training(run, origin),
        "## Limitations",
        _limitations(run),
    ]
    metadata = _metadata(run, name, split, origin).to_yaml()
    text = str(ModelCard(f"---\n{metadata}\n---\n\n" + "\n\n".join(body) + "\n\n"))
    return f"{text}<!-- Written by rlcap card; SHA-256 of the text above: {_digest(text)} -->\n"


def differences(before: Run, after: Run) -> dict[str, Difference]:
    """By metric how much higher the later run scored on the same images, with a 95% interval, where that can be told.

    It can where both scored alike, and where the metric is a mean over images, which BLEU is not.
    """
    old, new = before.evaluation, after.evaluation
    if not new.predictions or old.predictions.keys() != new.predictions.keys():
        return {}
    alike = [
        name for name in new.scores if name in old.scores and new.scores[name].signature == old.scores[name].signature
    ]
    pairs = {
        name: (later, earlier)
        for name in alike
        if new.scores[name].signature
        and (later := _of_images(after, name)) is not None
        and (earlier := _of_images(before, name)) is not None
    }
    if not pairs:
        return {}
    blocks = image_resamples(len(new.predictions), RESAMPLES, _SEED)
    runs = mean_runs_of([each for pair in pairs.values() for each in pair], blocks)
    return {name: difference(*both) for name, both in zip(pairs, zip(runs[::2], runs[1::2], strict=True), strict=True)}


def _of_images(run: Run, metric: str) -> Float[np.ndarray, "1 images"] | None:
    """The images' scores, sorted by image; None where their mean is not the run's score."""
    predictions = run.evaluation.predictions
    if any(metric not in prediction.scores for prediction in predictions.values()):
        return None
    scores = np.array([[predictions[image_id].scores[metric] for image_id in sorted(predictions)]])
    return scores if np.isclose(scores.mean(), run.evaluation.scores[metric].value, rtol=1e-6, atol=0.0) else None


def _metadata(run: Run, name: str, split: str, origin: Origin) -> ModelCardData:
    data = clean(class_name(run.setting("data", "class_path")))
    named = origin.data and f"{data} ({clean(origin.data)})"
    results = [
        EvalResult(
            task_type="image-to-text",
            task_name="Image captioning",
            dataset_type=data.lower() or "unknown",
            dataset_name=named or data or "unknown",
            dataset_split=clean(split),
            metric_type=clean(metric).partition("-")[0].lower(),  # as the hub names them: cider, bleu, rouge
            metric_name=clean(metric),
            metric_value=score.value,
            metric_args={"signature": clean(without_folders(score.signature))} if score.signature else None,
        )
        for metric, score in run.evaluation.scores.items()
    ]
    tags = ["image-captioning", *(["reinforcement-learning"] if _rewarded(run) else [])]
    return ModelCardData(
        library_name="rlcap",
        pipeline_tag="image-to-text",
        tags=[*tags, re.sub(r"(?<=[a-z])(?=[A-Z])", "-", clean(_algorithm(run))).lower()],
        base_model=origin.hub,
        model_name=clean(name),
        eval_results=results,
    )


def _algorithm(run: Run) -> str:
    return class_name(run.setting("algorithm", "class_path")) or "unknown"


def _summary(run: Run, origin: Origin) -> str:
    family = class_name(run.setting("policy", "class_path"))
    what = "An image captioner" if family in ("", "load_policy") else f"An image captioner ({plain(family)})"
    unchanged = (
        " These weights are those that it started from: no later step was better on the held-out split."
        if run.evaluation.step == 0
        else ""
    )
    return (
        f"{what}, {origin.told}, and trained with {plain(_algorithm(run))} by "
        f"rlcap, which fine-tunes captioners by reinforcement learning.{unchanged}"
    )


def _usage(run: Run, config: Mapping[str, Any]) -> str:
    decoding = as_mapping(as_mapping(run.config.get("evaluation")).get("decoding"))
    asked = [f"--decoding.{key} {count}" for key in ("beams", "max_length") if (count := as_count(decoding.get(key)))]
    parts = [
        "With rlcap, in the folder of this file:",
        "```bash\n" + " ".join(["rlcap caption photo.jpg --policy .", *asked]) + "\n```",
        '```python\nfrom rlcap.policies import load_policy\n\npolicy = load_policy(".")\n```',
    ]
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str) and names[0].isidentifier():
        parts += [
            "The files are a checkpoint of transformers too:",
            f"```python\nfrom transformers import AutoImageProcessor, AutoTokenizer, {names[0]}\n\n"
            f'model = {names[0]}.from_pretrained(".")\n'
            'tokenizer = AutoTokenizer.from_pretrained(".")\nprocessor = AutoImageProcessor.from_pretrained(".")\n```',
        ]
    return "\n\n".join(parts)


def _results(run: Run, split: str, baseline: Run | None) -> str:
    evaluation = run.evaluation
    images = len(evaluation.predictions) or evaluation.images or 0
    found = differences(baseline, run) if baseline is not None else {}
    rows = []
    for metric, score in evaluation.scores.items():
        cells = [plain(metric), f"{score.value:.4f}"]
        if found:
            cells.append(_difference(found[metric]) if metric in found else "")
        rows.append([*cells, plain(without_folders(score.signature))])
    columns = ["Metric", "Value", *(["Difference (interval)"] if found else []), "Signature"]
    decoded = f", decoded {plain(evaluation.decoding)}" if evaluation.decoding else ""
    parts = [f"On the split {plain(split)}, {images:,} images{decoded}:", table(columns, rows)]
    if baseline is not None and found:
        parts.append(
            f"Differences are from {plain(Path(baseline.name).name)}, with 95% intervals from {RESAMPLES:,} resamples "
            "of the images; a metric that is no mean over images has none."
        )
    parts.append("Two values compare only where their signatures are the same.")
    return "\n\n".join(parts)


def _difference(found: Difference) -> str:
    interval = "" if found.low is None or found.high is None else f" ({found.low:+.4f} to {found.high:+.4f})"
    return f"{found.value:+.4f}{interval}"


def _examples(run: Run) -> str:
    predictions = list(run.evaluation.predictions.values())
    places = sorted({round(place) for place in np.linspace(0, len(predictions) - 1, EXAMPLES)}) if predictions else []
    rows = [
        [plain(each.caption) or "(empty)", plain(each.references[0]) if each.references else ""]
        for each in (predictions[place] for place in places)
    ]
    if not rows:
        return "The run kept no captions."
    return f"Evenly spread over the split, not chosen:\n\n{table(['Caption', 'A reference'], rows)}"


def _training(run: Run, origin: Origin) -> str:
    settings = {
        "started from": origin.name or "fresh weights",
        "data": " ".join(filter(None, (class_name(run.setting("data", "class_path")), origin.data))),
        "algorithm": _with_numbers(run, "algorithm"),
        "rewards": _rewards(run) if _rewarded(run) else "",
        "optimizer": _with_numbers(run, "optimizer"),
        "steps": f"{run.setting('training', 'steps')}; these weights are of step {run.evaluation.step}",
        "images per batch": run.setting("training", "images_per_batch"),
        "seed": run.setting("training", "seed"),
        "commit": _commit(run.environment),
        "versions": ", ".join(
            f"{key} {own}" for key, own in as_mapping(run.environment.get("versions")).items() if own
        ),
        "device": str(run.environment.get("device") or ""),
    }
    return table(
        ["Setting", "Value"], [[key, plain(without_folders(value))] for key, value in settings.items() if value]
    )


def _rewarded(run: Run) -> bool:
    """Whether captions that it sampled were scored, whatever the configuration holds besides."""
    return "reward/sampled" in run.curves


def _with_numbers(run: Run, part: str) -> str:
    """A class and its settings that are numbers."""
    arguments = as_mapping(as_mapping(run.config.get(part)).get("init_args"))
    numbers = [f"{key} {value:g}" for key, value in arguments.items() if as_number(value) is not None]
    name = class_name(run.setting(part, "class_path"))
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _rewards(run: Run) -> str:
    terms = {name: as_mapping(term) for name, term in as_mapping(run.config.get("rewards")).items()}
    return ", ".join(
        f"{as_number(term.get('weight', 1.0)):g} × {name} "
        f"({class_name(str(as_mapping(term.get('reward')).get('class_path') or ''))})"
        for name, term in terms.items()
        if as_number(term.get("weight", 1.0)) is not None
    )


def _commit(environment: Mapping[str, Any]) -> str:
    commit = environment.get("commit")
    return f"{commit}{' with changes besides' if environment.get('dirty') else ''}" if commit else ""


def _limitations(run: Run) -> str:
    learned = (
        "It was trained to raise its rewards. A reward, above all a learned one, can be raised by captions that people "
        "would not prefer: look at the captions, and at metrics that were no reward."
        if _rewarded(run)
        else "It learned to say what its training data say, and no more."
    )
    items = (
        "Metrics compare words with a few references: a high score is no proof that a caption is true of its image.",
        learned,
        "Captions take over what the training data say too often or never: their objects, their people and their "
        "prejudices. Images unlike the training data are captioned as if they were like them.",
    )
    return "\n".join(f"- {item}" for item in items)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
