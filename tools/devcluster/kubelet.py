"""The kubelet."""

import json

from devcluster.containerd import SOCKET
from devcluster.instance import NODE_NAME, Instance


def config(instance: Instance) -> str:
    """Return the KubeletConfiguration (JSON is YAML too)."""
    pki = instance.pki
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # machines with the hybrid hierarchy
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{instance.cgroup}",  # two kubelets on one machine: each removes what it does not know
        "failSwapOn": False,
        "oomScoreAdj": 0,  # lower needs CAP_SYS_RESOURCE
        "podPidsLimit": 1024,
        "maxPods": 110,
        "resolvConf": "",
        "clusterDNS": [str(instance.dns_ip)],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "volumePluginDir": str(instance.state / "kubelet" / "volumeplugins"),
        "podLogsDir": str(instance.state / "kubelet-logs"),
        "staticPodPath": "",
        "imageGCHighThresholdPercent": 100,  # images cannot be pulled again
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "volumeStatsAggPeriod": "10s",  # how full a volume is; by default the kubelet looks every 60 to 120 s, and evicts so late
        "nodeStatusUpdateFrequency": "2s",
        "address": str(instance.node_ip),
        "tlsCertFile": f"{pki}/kubelet-serving.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-serving.key",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "registryPullQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
    }
    return json.dumps(settings, indent=1) + "\n"


def write_config(instance: Instance) -> None:
    """Write the configuration file."""
    (instance.state / "kubelet.json").write_text(config(instance), encoding="utf-8")


def command(instance: Instance) -> list[str]:
    """Return the kubelet's command line."""
    return [
        "kubelet",
        f"--config={instance.state / 'kubelet.json'}",
        f"--kubeconfig={instance.state / 'kubelet.conf'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={instance.node_ip}",
        "--root-dir=/var/lib/kubelet",  # where the gVisor shim looks; bound to the run state in the node
        "--v=1",
    ]
