"""What runs inside a container: the packet thread, the server thread, and between them the modules of one publisher."""
