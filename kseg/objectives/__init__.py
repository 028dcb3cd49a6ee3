"""What a network is trained towards (losses) and judged by (metrics)."""
