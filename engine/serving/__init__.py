"""Hosting over HTTP: socket, server, connections, body limits, access log, shutdown. It knows nothing of what it serves."""
