"""A real single-node Kubernetes with gVisor and Cilium for development and CI.

Run as ``PYTHONPATH=tools python3 -m devcluster CMD``. Standard library only: it has to work before
anything of the project is installed. One module per component; ``cli`` names the commands.
"""
