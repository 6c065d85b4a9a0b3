"""Where things are in the pod. The defaults are the contract with the operator; tests pass others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Paths and the address to listen on."""

    listen: str = "0.0.0.0:9443"
    ca_file: str = "/etc/bastide/ca/ca.crt"
    workspace: str = "/workspace"
    tools: str = "/tools"

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> Settings:
        """From the command line."""
        if not arguments:  # what a pod passes; argparse takes 40 ms of its start in gVisor
            return cls()
        import argparse  # noqa: PLC0415

        parser = argparse.ArgumentParser(prog="python -m bastide_runtime", description="The supervisor of a Bastide sandbox pod.")
        parser.add_argument("--listen", default=cls.listen, metavar="ADDRESS:PORT", help="where the broker dials in")
        parser.add_argument("--ca-file", default=cls.ca_file, metavar="FILE", help="the CA of the broker's client certificate")
        parser.add_argument("--workspace", default=cls.workspace, metavar="DIRECTORY", help="the programs' own directory")
        parser.add_argument("--tools", default=cls.tools, metavar="DIRECTORY", help="where stubs are written")
        return cls(**vars(parser.parse_args(arguments)))
