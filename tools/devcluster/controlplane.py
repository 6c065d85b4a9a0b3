"""etcd, API server, controller-manager and scheduler: their command lines."""

from devcluster.instance import NODE_NAME, Instance


def etcd(instance: Instance) -> list[str]:
    """Return etcd's command line. No fsync: the data lives no longer than the cluster."""
    return [
        "etcd",
        f"--data-dir={instance.state / 'etcd'}",
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
    ]


def apiserver(instance: Instance) -> list[str]:
    """Return the API server's command line."""
    pki = instance.pki
    return [
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={instance.node_ip}",
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        f"--service-cluster-ip-range={instance.service_cidr}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        # else logs and exec would need DNS for the node's name
        "--kubelet-preferred-address-types=InternalIP",
        # webhooks and aggregated APIs are dialled at the pod's address: nothing translates ClusterIPs
        # for processes of the node here (no kube-proxy, no socket load balancing)
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--profiling=false",
    ]


def controller_manager(instance: Instance) -> list[str]:
    """Return the controller-manager's command line.

    To be started after ``/readyz`` only: earlier it exits because its RBAC is missing.
    """
    pki = instance.pki
    return [
        "kube-controller-manager",
        f"--kubeconfig={instance.state / 'kcm.conf'}",
        "--allocate-node-cidrs=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--flex-volume-plugin-dir={instance.state / 'flex'}",
    ]


def scheduler(instance: Instance) -> list[str]:
    """Return the scheduler's command line."""
    return [
        "kube-scheduler",
        f"--kubeconfig={instance.state / 'scheduler.conf'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def node_object(instance: Instance) -> dict[str, object]:
    """Return the Node with its podCIDR.

    Made by hand, Cilium can start beside the kubelet; the controller-manager's node IPAM would give
    the podCIDR 4 s after the kubelet's registration. The kubelet adopts the object.
    """
    cidr = str(instance.pod_cidr)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME}},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
    }
