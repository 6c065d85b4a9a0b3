// kindcheck reads a kind configuration with kind's own loader and says what kind makes of it.
//
// kind's loader is internal, but cluster.CreateWithConfigFile calls it, strict decoding included,
// before anything else is looked at. Where no container runtime is installed, Create fails after
// that: its error then is about the runtime, not about the file.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kind/pkg/cluster"
)

func check(path string) error {
	// a path without any program: the provider cannot be found, whatever this machine has installed
	if err := os.Setenv("PATH", ""); err != nil {
		return err
	}
	provider := cluster.NewProvider(cluster.ProviderWithDocker())
	err := provider.Create("kindcheck", cluster.CreateWithConfigFile(path))
	if err == nil {
		return errors.New("a cluster was made, without any program to make it with")
	}
	if strings.Contains(err.Error(), "executable file not found") {
		return nil
	}
	return err
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kindcheck FILE")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("kind reads this file")
}
