"""The tables of Lin et al. 2026 (arXiv 2604.10910), run anew and set beside the paper's own figures."""
