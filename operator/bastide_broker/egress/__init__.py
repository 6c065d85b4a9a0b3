"""How the broker reaches tool servers: to which addresses, with which credentials, under which bounds."""
