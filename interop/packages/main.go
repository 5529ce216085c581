// Reads what deploy/ has for containers as their own tools do: `compose FILE` by Docker Compose's loader, `helm DIR [VALUES]` by
// Helm's linter and renderer, each object decoded strictly as Kubernetes's own types. Prints what came of it as JSON lines.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "compose":
		return compose(arguments[1])
	case len(arguments) >= 2 && arguments[0] == "helm":
		return helm(arguments[1], strings.Join(arguments[2:], ""))
	}
	return fmt.Errorf("usage: packages compose FILE | packages helm DIR [VALUES]")
}

func compose(file string) error {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithOsEnv)
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(project)
}

func helm(folder, values string) error {
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return err
	}
	for _, message := range lint.All(folder, given, "backups", true).Messages {
		// An icon is for catalogues of charts.
		if message.Severity > 0 && !strings.Contains(message.Error(), "icon is recommended") {
			return message
		}
	}
	chart, err := loader.Load(folder)
	if err != nil {
		return err
	}
	release := chartutil.ReleaseOptions{Name: "tidemark", Namespace: "backups", IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, given, release, chartutil.DefaultCapabilities)
	if err != nil {
		return err
	}
	rendered, err := engine.Render(chart, all)
	if err != nil {
		return err
	}
	return decode(rendered)
}

// decode prints the objects of all files; an unknown field is an error.
func decode(rendered map[string]string) error {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	names := make([]string, 0, len(rendered))
	for name := range rendered {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, text := range strings.Split(rendered[name], "\n---") {
			isObject := strings.Contains(text, "kind:") && strings.HasSuffix(name, ".yaml")
			// Of the Prometheus operator; Kubernetes does not know it.
			if !isObject || strings.Contains(text, "kind: ServiceMonitor") {
				continue
			}
			object, _, err := decoder.Decode([]byte(text), nil, nil)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			if err := json.NewEncoder(os.Stdout).Encode(object); err != nil {
				return err
			}
		}
	}
	return nil
}
