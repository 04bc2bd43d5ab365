"""From each synthesizer's phone names to the CMU phones of `coarticulation.py`.

What matters is what is seen: place and manner at the lips, rounding, and how open the mouth is. So foreign
sounds go to the CMU phone that looks like them: an apical trill or tap to `d`, uvulars and pharyngeals to
`hh` or `k`, front rounded vowels to the back rounded vowel of their height. Nothing is guessed at build
time: a name without an entry raises `UnknownPhone`.

Sources: flite and festival's English voices use the CMU/`radio` set (festival, `lib/radio_phones.scm`); the
Italian set is that of festvox-italp16k (`italian_phones`), Finnish of festvox-suopuhe (`suo_fi_phones.scm`),
Czech of festival-czech (`czech-phones.scm`), Catalan of festival-ca (SAMPA-like), Russian of
festvox-ru (`msu_ru_nsh_phoneset.scm`); espeak-ng gives IPA names, read with the IPA chart (2020).
"""

from __future__ import annotations

import unicodedata

from talkjax.data.coarticulation import PHONES

Phones = tuple[str, ...]


class UnknownPhone(ValueError):
    """A synthesizer spoke a phone that its map does not have."""


def _table(text: str) -> dict[str, Phones]:
    """`name=phone` or `name=phone+phone` pairs, separated by blanks."""
    table = {}
    for item in text.split():
        name, phones = item.rsplit("=", 1)
        table[name] = tuple(phones.split("+"))
    return table


ENGLISH = {p: (p,) for p in PHONES} | _table(
    "h#=pau #=pau brth=pau dx=d el=ax+l em=m en=n hv=hh nx=n ssil=pau"
)
ITALIAN = _table(
    """
    i=iy e=ey E=eh a=aa O=ao o=ow u=uw i1=iy e1=ey E1=eh a1=aa O1=ao o1=ow u1=uw j=y w=w p=p t=t k=k b=b d=d
    g=g f=f s=s S=sh v=v z=z Z=zh ts=t+s tS=ch dz=d+z dZ=jh m=m n=n J=n ng=ng nf=v l=l L=l r=d #=pau
    """
)
CATALAN = _table(
    """
    ax=ax a=aa a1=aa b=b d=d e=ey e1=ey E=eh E1=eh f=f g=g i=iy i1=iy j=y J=n k=k l=l L=l m=m n=n o=ow o1=ow
    O=ao O1=ao p=p r=d rr=d s=s S=sh t=t u=uw u1=uw w=w z=z Z=zh pau=pau _=pau #=pau
    """
)
CZECH = _table(
    """
    #=pau _=pau a=aa a:=aa b=b c=t+s c~=ch ch=hh d=d d~=d dz=d+z dz~=jh e=eh e:=eh f=f g=g h=hh i=iy i:=iy
    j=y k=k l=l m=m n=n n*=ng n~=n o=ao o:=ao p=p r=d r~=zh r~*=sh s=s s~=sh t=t t~=t u=uw u:=uw v=v z=z
    z~=zh
    """
)
_FINNISH_PLAIN = """
    a=aa e=eh i=iy o=ao u=uw y=uw @=ae 7=ow &=ae p=p t=t k=k b=b d=d g=g f=f T=th D=dh s=s S=sh h=hh v=v m=m
    n=n N=ng l=l L=l r=d j=y w=w z=z Z=zh
"""
FINNISH = {
    **_table(_FINNISH_PLAIN + "#=pau ##=pau"),
    **{f"{name}:": phones for name, phones in _table(_FINNISH_PLAIN).items()},
}
RUSSIAN = _table(
    """
    pau=pau ii=iy yy=ih uu=uw ee=eh oo=ao aa=aa a=ah e=eh i=ih y=ih u=uh ae=ih ay=ah ur=ax p=p pp=p b=b bb=b
    t=t tt=t d=d dd=d k=k kk=k g=g gg=g c=t+s ch=ch f=f ff=f v=v vv=v s=s ss=s z=z zz=z sh=sh sch=sh zh=zh
    h=hh hh=hh m=m mm=m n=n nn=n l=l ll=l r=d rr=d j=y
    """
)

# affricates and diphthongs of the CMU set, and names that espeak-ng writes in ASCII
_IPA_SEQUENCES = _table(
    """
    tʃ=ch dʒ=jh tɕh=ch tɕ=ch dʑ=jh ts.h=ch ts.=ch dz.=jh tʂ=ch dʐ=jh tsh=t+s ts=t+s dz=d+z th=t kh=k ph=p
    bh=b dh=d aɪ=ay aʊ=aw ɔɪ=oy ɔø=oy ɔʏ=oy eɪ=ey oʊ=ow əʊ=ow onɡ=ow+ng r̝̊=sh r̝=zh ɑu=aw ɑʊ=aw ai=ay au=aw
    ɑi=ay ei=ey ou=ow ɜː=er ɚ=axr s.=sh
    """
)
_IPA_SINGLE = _table(
    """
    i=iy y=uw ɨ=ih ʉ=uw ɯ=ih u=uw ɪ=ih ʏ=uh ʊ=uh e=ey ø=ow ɘ=ax ɵ=uh ɤ=ah o=ow ə=ax ɛ=eh œ=uh ɜ=ah ɝ=er ɞ=uh
    ʌ=ah ɔ=ao æ=ae ɐ=ah a=aa ɶ=ao ɑ=aa ɒ=ao ᵻ=ih ɫ=l p=p b=b m=m ɱ=v f=f v=v ʋ=v ɸ=f β=v ʙ=b θ=th ð=dh t=t
    d=d n=n s=s z=z ɹ=r ɾ=d r=d l=l ɬ=l ɮ=l ʃ=sh ʒ=zh ʂ=sh ʐ=zh ɕ=sh ʑ=zh ʈ=t ɖ=d ɳ=n ɽ=d ɭ=l ɻ=r c=k ɟ=g
    ɲ=n ç=hh ʝ=y j=y ʎ=l k=k g=g ɡ=g ŋ=ng x=hh ɣ=g ɰ=g q=k ɢ=g ɴ=ng χ=hh ʁ=hh ʀ=hh ħ=hh ʕ=hh h=hh ɦ=hh ʔ=hh
    ?=hh w=w ʍ=w ɥ=w ʲ=y
    """
)
_IPA_MARKS = "ᵝːˑˈˌʰʱʷ̪̥̩̯̃̊̈̽̚˞ˠˤ.·'^-~0123456789˥˦˧˨˩̝̞̟̠͡"
"""Length, stress, tone and secondary articulation: not seen, or too fine for this model."""


def ipa_phones(name: str) -> Phones:
    """CMU phones of one espeak-ng phoneme in IPA; `("pau",)` for an empty name (a pause).

    Raises:
      UnknownPhone: a symbol of the name is in no table.
    """
    if not name.strip("_:| "):
        return ("pau",)
    found: list[str] = []
    rest = name
    while rest:
        long = next((n for size in (4, 3, 2) for n in (rest[:size],) if n in _IPA_SEQUENCES), None)
        if long is not None:
            found += _IPA_SEQUENCES[long]
            rest = rest[len(long) :]
        elif rest[0] in _IPA_SINGLE and not (rest[0] == "ʲ" and found):
            found += _IPA_SINGLE[rest[0]]
            rest = rest[1:]
        elif rest[0] in _IPA_MARKS or rest[0] == "ʲ":
            rest = rest[1:]
        elif len(unicodedata.normalize("NFD", rest[0])) > 1:  # a letter and its mark in one
            rest = unicodedata.normalize("NFD", rest[0]) + rest[1:]
        else:
            raise UnknownPhone(f"no CMU phone for the IPA symbol {rest[0]!r} in {name!r}")
    if not found:
        raise UnknownPhone(f"the name {name!r} holds no IPA letter")
    return tuple(found)


MAPS = {
    "english": ENGLISH,
    "italian": ITALIAN,
    "catalan": CATALAN,
    "czech": CZECH,
    "finnish": FINNISH,
    "russian": RUSSIAN,
}
"""Name of a phone set -> its table; "ipa" is read by rule."""


def cmu_phones(phone_set: str, name: str) -> Phones:
    """CMU phones of a synthesizer's phone; several share its duration equally.

    Raises:
      UnknownPhone: not in the map.
    """
    if phone_set == "ipa":
        return ipa_phones(name)
    try:
        return MAPS[phone_set][name]
    except KeyError:
        raise UnknownPhone(f"no CMU phone for {name!r} of the {phone_set} phone set") from None


def to_cmu(phone_set: str, phones: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Translates (name, end) pairs; phones without duration vanish, pauses in a row become one."""
    out: list[tuple[str, float]] = []
    start = 0.0
    for name, end in phones:
        if end - start <= 1e-4:
            continue
        mapped = cmu_phones(phone_set, name)
        for k, phone in enumerate(mapped):
            at = start + (end - start) * (k + 1) / len(mapped)
            if phone == "pau" and out and out[-1][0] == "pau":
                out[-1] = ("pau", at)
            else:
                out.append((phone, at))
        start = end
    return out
