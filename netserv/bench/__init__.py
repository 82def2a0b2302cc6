"""How fast this machine is as a node: the configurations of thesis section 6.3, measured on namespaces of its own."""
