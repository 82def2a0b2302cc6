"""The publisher's side of KeepAlive: a watcher beside a SIP server, which deploys the module where it is wanted."""
