"""How every written video says that it is synthetic, of whom, and with what consent."""

from __future__ import annotations

from talkjax import __version__


def synthetic_tags(identity: str, consent: str, audio_sha256: str) -> dict[str, str]:
    """Marks for the mp4's metadata: that it is synthetic, of whom, from what, by what, with what consent.

    Args:
      identity: name. consent: status in its record, e.g. `self`, `not recorded`.
    """
    return {
        "synthetic": "true",
        "comment": f"Synthetic video made with talkjax {__version__}; consent: {consent}",
        "talkjax_identity": identity,
        "talkjax_audio_sha256": audio_sha256,
        "talkjax_version": __version__,
        "talkjax_consent": consent,
        "digital_source_type": "trainedAlgorithmicMedia",
    }
