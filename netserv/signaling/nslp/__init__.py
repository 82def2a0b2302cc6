"""The NetServ NSLP: the requests that publishers send towards a host, and the answers on the way back."""
