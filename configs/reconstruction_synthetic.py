"""R-Net from drawn faces: picture -> coefficients of ICT-FaceKit's model.

    python -m launch.make_faces --facekit=PATH/TO/ict_facekit --out=faces --count=40960
    python -m launch.train --config=configs/reconstruction_synthetic.py --workdir=runs --corpus=faces
    python -m launch.train --config=configs/reconstruction_synthetic.py:resnet50 --workdir=runs --corpus=faces

`small` (1 MB in float16) takes about 40 minutes on two CPU cores; `resnet50` wants an accelerator.
`RUN/weights.npz` and `RUN/report.json` at the end. Without --corpus faces are drawn as they are needed:
--set=face_model=FILE.npz.
"""

from talkjax.config import ReconstructionConfig


def get_config(preset: str = "small") -> ReconstructionConfig:
    if preset == "resnet50":
        return ReconstructionConfig(
            preset="resnet50", steps=200_000, width=64, learning_rate=3e-4, photometric=1.0, size=256
        )
    return ReconstructionConfig(preset=preset)
