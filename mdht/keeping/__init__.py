"""What the nodes of the overlay do to keep each other's records, seen from one host of one of them."""
