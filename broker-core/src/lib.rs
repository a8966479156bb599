//! The data model, topics, routing and endpoints of the Broker framework: no sockets, no files.

