"""Differentiable triangle rasterizer; knows no faces. Conventions: docs/raster.md."""

from talkjax.raster.antialias import antialias as antialias
from talkjax.raster.camera import project as project
from talkjax.raster.camera import to_clip as to_clip
from talkjax.raster.interpolate import interpolate as interpolate
from talkjax.raster.rasterize import rasterize as rasterize
from talkjax.raster.texture import sample_texture as sample_texture
from talkjax.raster.topology import Topology as Topology
