{{/* Who may ask whom, one list a part: what comes in, then what goes out. */}}

{{- define "pneumonia.peer" -}}
- podSelector:
    matchLabels: {{- include "pneumonia.selector" . | nindent 6 }}
{{- end }}

{{/* A rule for parts of this release: list $ "from or to" port "part" … */}}
{{- define "pneumonia.rule" -}}
- {{ index . 1 }}:
    {{- range $part := slice . 3 }}
    {{- include "pneumonia.peer" (list (index $ 0) $part) | nindent 4 }}
    {{- end }}
  ports: [{protocol: TCP, port: {{ index . 2 }}}]
{{- end }}

{{/* A rule for peers that the values name: list peers "from or to" port. */}}
{{- define "pneumonia.peers" -}}
{{- with index . 0 }}
- {{ index $ 1 }}: {{- toYaml . | nindent 4 }}
  ports: [{protocol: TCP, port: {{ index $ 2 }}}]
{{- end }}
{{- end }}

{{- define "pneumonia.networks" -}}
{{- with index . 0 }}
- to:
    {{- range . }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports: [{protocol: TCP, port: {{ index $ 1 }}}]
{{- end }}
{{- end }}

{{- define "pneumonia.egress.database" -}}
{{- if not (include "pneumonia.usesDatabase" .) }}
{{- else if .Values.postgres.enabled }}
{{ include "pneumonia.rule" (list . "to" 5432 "postgres") }}
{{- else }}
{{ include "pneumonia.networks" (list .Values.networkPolicy.databaseCIDRs .Values.database.port) }}
{{- end }}
{{- end }}

{{- define "pneumonia.egress.registry" -}}
{{- if .Values.mlflow.enabled }}
{{ include "pneumonia.rule" (list . "to" 5000 "mlflow") }}
{{- else }}
{{- $port := regexFind ":[0-9]+" (regexReplaceAll "^https?://" .Values.mlflow.uri "") | trimPrefix ":" }}
- ports: [{protocol: TCP, port: {{ $port | default (ternary "443" "80" (hasPrefix "https:" .Values.mlflow.uri)) }}}]
{{- end }}
{{- end }}

{{- define "pneumonia.ingress.serving" -}}
{{ include "pneumonia.rule" (list . "from" 8000 "test") }}
{{ include "pneumonia.peers" (list .Values.networkPolicy.clients "from" 8000) }}
{{ include "pneumonia.peers" (list .Values.networkPolicy.prometheus "from" 8000) }}
{{- end }}
{{- define "pneumonia.egress.serving" -}}
{{ include "pneumonia.egress.registry" . }}
{{ include "pneumonia.egress.database" . }}
{{- end }}

{{- define "pneumonia.ingress.mlflow" -}}
{{ include "pneumonia.rule" (list . "from" 5000 "serving" "webhook" "monitor") }}
{{ include "pneumonia.peers" (list .Values.networkPolicy.pipelines "from" 5000) }}
{{- end }}
{{- define "pneumonia.egress.mlflow" -}}
{{ include "pneumonia.egress.database" . }}
{{ include "pneumonia.networks" (list .Values.networkPolicy.objectStoreCIDRs 443) }}
{{- /* where a pod gets the credentials of its account's role: GKE's metadata server, the agent of EKS Pod Identity */}}
{{- if hasPrefix "gs://" .Values.mlflow.artifacts.destination }}
{{ include "pneumonia.networks" (list (list "169.254.169.254/32") 80) }}
{{ include "pneumonia.networks" (list (list "169.254.169.252/32") 988) }}
{{- else if hasPrefix "s3://" .Values.mlflow.artifacts.destination }}
{{ include "pneumonia.networks" (list (list "169.254.170.23/32") 80) }}
{{- end }}
{{- end }}

{{- define "pneumonia.ingress.postgres" -}}
{{ include "pneumonia.rule" (list . "from" 5432 "serving" "mlflow" "migrations" "monitor") }}
{{ include "pneumonia.peers" (list .Values.networkPolicy.pipelines "from" 5432) }}
{{- end }}
{{- define "pneumonia.egress.postgres" -}}[]{{- end }}

{{- define "pneumonia.ingress.migrations" -}}[]{{- end }}
{{- define "pneumonia.egress.migrations" -}}
{{ include "pneumonia.egress.database" . }}
{{- end }}

{{- define "pneumonia.ingress.test" -}}[]{{- end }}
{{- define "pneumonia.egress.test" -}}
{{ include "pneumonia.rule" (list . "to" 8000 "serving") }}
{{- end }}

{{- define "pneumonia.ingress.webhook" -}}
{{ include "pneumonia.peers" (list .Values.networkPolicy.alertmanager "from" 9095) }}
{{ include "pneumonia.peers" (list .Values.networkPolicy.prometheus "from" 9095) }}
{{- end }}
{{- define "pneumonia.egress.webhook" -}}
{{ include "pneumonia.egress.registry" . }}
{{ include "pneumonia.peers" (list .Values.networkPolicy.pipelines "to" 8080) }}
{{- end }}

{{- define "pneumonia.ingress.monitor" -}}[]{{- end }}
{{- define "pneumonia.egress.monitor" -}}
{{ include "pneumonia.egress.serving" . }}
{{- end }}
