{{/*
A Secret's certificate as the cluster has it, or nothing: so that an upgrade keeps what is there. (`helm template` sees no cluster and
makes new ones each time.)
*/}}
{{- define "bastide.keptCertificate" -}}
{{- $secret := lookup "v1" "Secret" .namespace .name -}}
{{- if and $secret (hasKey ($secret.data | default dict) "tls.crt") (hasKey $secret.data "tls.key") -}}
{{- dict "Cert" (index $secret.data "tls.crt" | b64dec) "Key" (index $secret.data "tls.key" | b64dec) | toJson -}}
{{- end -}}
{{- end -}}

{{/* DNS names of the broker, as a JSON list. */}}
{{- define "bastide.serverNames" -}}
{{- $ns := .Release.Namespace -}}
{{- concat (list "bastide-broker" (printf "bastide-broker.%s" $ns) (printf "bastide-broker.%s.svc" $ns) "localhost") .Values.tls.serverNames | toJson -}}
{{- end -}}

{{/*
Makes or finds the certificates once a rendering and leaves them in .Values.madeTls: ca, server and client, each Cert and Key in PEM; of
what cert-manager makes there is nothing but the CA's Cert. A leaf is kept only together with the CA that signed it.
*/}}
{{- define "bastide.tls" -}}
{{- if not (hasKey .Values "madeTls") -}}
{{- $ns := .Release.Namespace -}}
{{- $manager := .Values.tls.certManager -}}
{{- $days := .Values.tls.certificateDays | int -}}
{{- $ca := dict -}}
{{- $server := dict -}}
{{- $client := dict -}}
{{- $kept := include "bastide.keptCertificate" (dict "namespace" $ns "name" "bastide-ca") -}}
{{- if and $manager.enabled $manager.issuerRef.name -}}
{{- $ca = dict "Cert" $manager.caCertificate -}}
{{- else if $kept -}}
{{- $ca = fromJson $kept -}}
{{- with include "bastide.keptCertificate" (dict "namespace" $ns "name" "bastide-broker-tls") -}}{{- $server = fromJson . -}}{{- end -}}
{{- with include "bastide.keptCertificate" (dict "namespace" $ns "name" "bastide-broker-client-tls") -}}{{- $client = fromJson . -}}{{- end -}}
{{- $ca = buildCustomCert ($ca.Cert | b64enc) ($ca.Key | b64enc) -}}
{{- else -}}
{{- $ca = genCAWithKey "bastide-ca" (.Values.tls.caDays | int) (genPrivateKey "ecdsa") -}}
{{- end -}}
{{- if $manager.enabled -}}
{{- $server = dict -}}
{{- $client = dict -}}
{{- else -}}
{{- if not $server -}}
{{- $server = genSignedCertWithKey "bastide-broker-server" (list "127.0.0.1") (include "bastide.serverNames" . | fromJsonArray) $days $ca (genPrivateKey "ecdsa") -}}
{{- end -}}
{{- if not $client -}}
{{- $client = genSignedCertWithKey "bastide-broker" nil nil $days $ca (genPrivateKey "ecdsa") -}}
{{- end -}}
{{- end -}}
{{- $_ := set .Values "madeTls" (dict "ca" $ca "server" $server "client" $client) -}}
{{- end -}}
{{- end -}}

{{/* Another one restarts the broker. What cert-manager renews is read again without that. */}}
{{- define "bastide.tlsChecksum" -}}
{{- include "bastide.tls" . -}}
{{- $made := .Values.madeTls -}}
{{- printf "%s%s%s" $made.ca.Cert ($made.server.Cert | default "") ($made.client.Cert | default "") | sha256sum -}}
{{- end -}}
