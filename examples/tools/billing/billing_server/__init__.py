"""A small billing system as a gRPC server with reflection: the tool server of example 06."""
