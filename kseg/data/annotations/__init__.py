"""Outlines and segments of labelling tools as sources of samples: COCO's instance and panoptic files, labelme, CVAT."""
