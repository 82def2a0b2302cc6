"""The KeepAlive Responder: a module for nodes, which answers keep-alives in the place of a SIP server (thesis 7.3)."""
