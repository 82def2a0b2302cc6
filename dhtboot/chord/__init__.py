"""Chord (Stoica et al. 2001) with the aggressive join of thesis section 2.4.3, as a core without I/O."""
