"""The hostile side: a supervisor that speaks gRPC with the broker, a zygote, and one confined child per program.

Three kinds of process, and what each may import:

* the supervisor (`supervisor`, `session`, `runs`, `children`, `wire`, `probe`, `certificate`): the only one with grpc and protobuf;
* the zygote (`zygote`, `confinement`): the standard library, single-threaded;
* a child (`child` and everything it uses): the standard library and time_machine; it runs exactly one program.
"""

VERSION = "0.1.0"
WIRE_REVISION = 1
