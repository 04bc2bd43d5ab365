"""General refiner, a memory-augmented GAN over many people, from a corpus of prepared frames.

    python -m launch.prepare_corpus synthetic_people --out=people --count=64        # docs/corpora.md
    python -m launch.train --config=configs/refiner_general.py --workdir=runs --corpus=people           # lite
    python -m launch.train --config=configs/refiner_general.py:paper --workdir=runs --run_id=paper
    --corpus=people

`lite` (1.5 M parameters) takes about a second a step at batch 8 on two CPU cores; `paper` (259 M, 30,000
memory rows) wants an accelerator. Pictures of held-out people appear in RUN/panels; `RUN/weights.npz` at the
end.
"""

from talkjax.config import GeneralRefinerConfig


def get_config(preset: str = "lite") -> GeneralRefinerConfig:
    if preset == "paper":
        return GeneralRefinerConfig(preset="paper", width=64, n_slots=30_000, learning_rate=1e-4)
    return GeneralRefinerConfig(preset=preset)
