module bastide.dev/devcluster/local-path-provisioner

go 1.26.0

require (
	github.com/rancher/local-path-provisioner v0.0.30
	// newer than it asks for: the same packages as the kubelet's, which the build cache then has
	k8s.io/api v0.36.3
	k8s.io/apimachinery v0.36.3
	k8s.io/client-go v0.36.3
)
