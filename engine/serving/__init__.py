"""Hosts an ASGI application over HTTP: socket, server, connections, body limits, access log, shutdown."""
