"""Kademlia (Maymounkov and Mazieres 2002) with the sibling list of S/Kademlia, as a core without I/O."""
