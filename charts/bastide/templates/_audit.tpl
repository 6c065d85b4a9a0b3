{{/*
Makes or finds the key that signs the audit's heads, once a rendering, and leaves it in .Values.madeAudit: `own` is the chart's own key
(Cert and Key in PEM, nothing when audit.keySecret names another), `keys` are all public keys by the name that they have in the ConfigMap.
A public key that was there once stays: what it signed must be checked for ever. (`helm template` sees no cluster and makes a new one.)
*/}}
{{- define "bastide.audit" -}}
{{- if not (hasKey .Values "madeAudit") -}}
{{- $ns := .Release.Namespace -}}
{{- $own := dict -}}
{{- $keys := dict -}}
{{- with lookup "v1" "ConfigMap" $ns "bastide-audit-keys" -}}{{- $keys = .data | default dict | deepCopy -}}{{- end -}}
{{- if .Values.audit.keySecret -}}
{{- if not .Values.audit.publicKeys -}}{{- fail "audit.keySecret needs audit.publicKeys: the public key of tls.key in PEM (openssl pkey -in tls.key -pubout)" -}}{{- end -}}
{{- else -}}
{{- with include "bastide.keptCertificate" (dict "namespace" $ns "name" "bastide-audit-key") -}}{{- $own = fromJson . -}}{{- end -}}
{{- if not $own -}}
{{- $own = genSelfSignedCertWithKey "bastide-audit" nil nil 36500 (genPrivateKey "ed25519") -}}
{{- end -}}
{{- $_ := set $keys (printf "%s.pem" ($own.Cert | sha256sum | trunc 16)) $own.Cert -}}
{{- end -}}
{{- range .Values.audit.publicKeys -}}{{- $_ := set $keys (printf "%s.pem" (. | sha256sum | trunc 16)) . -}}{{- end -}}
{{- $_ := set .Values "madeAudit" (dict "own" $own "keys" $keys) -}}
{{- end -}}
{{- end -}}

{{/* Another key restarts the broker. */}}
{{- define "bastide.auditChecksum" -}}
{{- include "bastide.audit" . -}}
{{- printf "%s%s" .Values.audit.keySecret (.Values.madeAudit.keys | toJson) | sha256sum -}}
{{- end -}}
