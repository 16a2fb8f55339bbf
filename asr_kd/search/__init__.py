"""Search over graphs: L, H, G, HCLG, n-gram LMs, the WFST decoder."""
