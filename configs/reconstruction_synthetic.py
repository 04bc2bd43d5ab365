"""R-Net from drawn faces: picture -> coefficients of ICT-FaceKit's model.

    python -m launch.make_faces --facekit=PATH/TO/ict_facekit --out=faces --count=40960
    python -m launch.train --config=configs/reconstruction_synthetic.py --workdir=runs --corpus=faces
    python -m launch.train --config=configs/reconstruction_synthetic.py:device --workdir=runs \
        --set=face_model=full_head.npz
    python -m launch.train --config=configs/reconstruction_synthetic.py:resnet50 --workdir=runs --corpus=faces

`small` takes an hour and more on two CPU cores; `device` is the same network, its faces drawn on the
accelerator that trains it (figures and what is embedded: docs/reconstruction_card.md); `resnet50` wants an
accelerator. `RUN/weights.npz` and `RUN/report.json` at the end. Without --corpus faces are drawn as they
are needed: --set=face_model=FILE.npz.
"""

from talkjax.config import ReconstructionConfig


def get_config(preset: str = "small") -> ReconstructionConfig:
    if preset == "resnet50":
        return ReconstructionConfig(
            preset="resnet50", steps=200_000, width=64, learning_rate=3e-4, photometric=1.0, size=256
        )
    if preset == "device":
        return ReconstructionConfig(
            steps=20_000,
            batch=256,
            learning_rate=3e-3,
            pool=16_384,
            log_every=100,
            save_every=5000,
            eval_every=5000,
        )
    return ReconstructionConfig(preset=preset)
