"""The web console: what discovery sees now, on one page that this machine serves to its own browser."""
