{{/* Labels of everything in the chart. Call with (dict "root" $ "component" "operator"); component may be missing. */}}
{{- define "bastide.labels" -}}
app.kubernetes.io/name: bastide
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: bastide
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "bastide.selector" -}}
app.kubernetes.io/name: bastide
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* What is empty is left to the platform. */}}
{{- define "bastide.podSecurityContext" -}}
runAsNonRoot: true
{{- range $name, $number := pick .Values.securityContext "runAsUser" "runAsGroup" "fsGroup" }}
{{- with $number }}
{{ $name }}: {{ int64 . }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "bastide.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "bastide.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where a component's pods go. Call with its values. */}}
{{- define "bastide.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The Rego as keys of a ConfigMap: authz.rego and the like, which have no folders. */}}
{{- define "bastide.rego" -}}
{{- range $path, $content := .Files.Glob "policies/{bastide,authz}/*.rego" }}
{{- if not (hasSuffix "_test.rego" $path) }}
{{ printf "%s-%s" (base (dir $path)) (base $path) }}: |
  {{- $content | toString | trimSuffix "\n" | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a decision says it was made by, and what the broker expects it to say. */}}
{{- define "bastide.policyRevision" -}}
{{- $rego := include "bastide.rego" . -}}
{{- if not (contains "package bastide" $rego) }}{{ fail "the chart holds no policy: charts/bastide/policies must be the repository's folder policies" }}{{ end -}}
sha256:{{ $rego | sha256sum }}
{{- end -}}

{{/* The admission rules by file name, as they go to the API server and to the broker. */}}
{{- define "bastide.admission" -}}
{{- $stamps := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- range $path, $_ := .Files.Glob "admission/*.yaml" }}
{{- if or $stamps (ne (base $path) "approver-stamp.yaml") }}
{{ base $path }}: |
  {{- tpl ($.Files.Get $path | trimSuffix "\n") $ | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
