"""SegCompass: causal evidence for reasoning segmentation through a sparse concept interface."""
