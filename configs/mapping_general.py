"""General sound-to-face network from a speech corpus.

    python -m launch.build_corpus generated --out=corpus            # hours of synthetic speech, from a seed
    python -m launch.train --config=configs/mapping_general.py --workdir=runs/general --corpus=corpus

About ten minutes on one free CPU core for 7000 steps. Expect, on held-out synthetic voices, r above 0.85 for
jaw and lip opening; `workdir/weights.npz` (float16, under 1 MB) and `workdir/report.json` at the end. A
killed run goes on from its last checkpoint with the same command.
"""

from talkjax.config import GeneralMappingConfig


def get_config() -> GeneralMappingConfig:
    return GeneralMappingConfig()
