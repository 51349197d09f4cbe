"""Tables room: runs in, tables out."""
