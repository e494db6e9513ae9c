"""Signs that a policy has learned its reward's errors: scores that fall while the reward rises."""

from rlcap.reporting.drawing.kl_curves import REWARD
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Bullets, Figures, Folded, Heading, Paragraph, Rows
from rlcap.reporting.sections.correlations import LEAST_POINTS, agreement_blocks, drift_table
from rlcap.reporting.sections.fallen_images import fallen_blocks
from rlcap.reporting.sections.over_optimization import TITLE, over_optimization
from rlcap.reporting.sections.section import Section


def section(material: Material) -> Section | None:
    """Reward and scores against KL, their agreement, how captions drifted, and where to look; None without a reward."""
    agreement, figures, without = agreement_blocks(material)
    against_kl = over_optimization(material.methods, material.marks)
    images = fallen_blocks(material)
    if agreement is None and against_kl is None and not images:
        return None
    blocks: list[Block] = []
    files = {}
    several = material.marks if len(material.methods) > 1 else ()
    if against_kl is not None:
        blocks += [
            Heading(TITLE, several),
            Bullets(against_kl.findings),
            Figures(against_kl.figures),
            Bullets(against_kl.notes, notes=True),
            Folded("Start, best and end of each quantity", (Rows(against_kl.table),)),
        ]
        files["tables/over_optimization.csv"] = against_kl.csv
    if agreement is not None or any(REWARD in run.curves for run in material.runs):
        blocks += [Heading("Does the reward go with the scores?", several if figures else ()), Figures(figures)]
        blocks += [Rows(agreement)] if agreement is not None else []
        if without:
            few = f"no training reward, or fewer than {LEAST_POINTS} validations after the start"
            blocks.append(Paragraph(f"Not shown: {', '.join(without)} ({few}).", quiet=True))
    drift = drift_table(material)
    if drift is not None:
        blocks += [Heading("Drift of the captions"), Rows(drift)]
    return Section("reward-hacking", "Reward hacking", (*blocks, *images), files)
