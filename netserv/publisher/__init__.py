"""The publisher's side: a bundle deployed to the nodes on a path, kept there, and removed (thesis 5.4)."""
