"""People drawn from a seed: pictures with exact masks, without a download.

``shapes`` outlines, ``palette`` colours and textures, ``canvas`` paints pieces and labels them; ``pose``, ``head``
and ``figure`` make people, ``props`` and ``background`` everything else; ``scene`` puts them together and
``optics`` photographs the result.
"""

from kseg.data.synthetic.scene import LEVELS, PARTS, draw_scene

__all__ = ["LEVELS", "PARTS", "draw_scene"]
