{{/* Names, labels, and what every pod of the release has in common. */}}

{{- define "pneumonia.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a component: list $ "component". They never change. */}}
{{- define "pneumonia.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "pneumonia.labels" -}}
{{ include "pneumonia.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{/* An image of the Dockerfile, by digest where one is named: list $ "target". */}}
{{- define "pneumonia.image" -}}
{{- $values := (index . 0).Values.image }}
{{- with $values.registry }}{{ trimSuffix "/" . }}/{{ end }}pneumonia-{{ index . 1 }}
{{- with get $values.digests (index . 1) }}@{{ . }}{{ else }}:{{ $values.tag | default (index . 0).Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The part of a pod that does not depend on its component; list $ user. */}}
{{- define "pneumonia.pod" -}}
{{- $ := index . 0 }}
automountServiceAccountToken: false
# a Service named pneumonia-mlflow would give every container variables that MLflow and the configuration read
enableServiceLinks: false
{{- with $.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}{{ end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pneumonia.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "pneumonia.placement" -}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $ $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}{{ end }}
{{- end }}

{{/* A variable from the Secret, under the same name as in .env: list $ "VARIABLE" "KEY". */}}
{{- define "pneumonia.secretVariable" -}}
- name: {{ index . 1 }}
  valueFrom: {secretKeyRef: {name: {{ (index . 0).Values.secretName }}, key: {{ index . 2 }}}}
{{- end }}

{{- define "pneumonia.databaseHost" -}}
{{- if .Values.postgres.enabled }}{{ include "pneumonia.fullname" . }}-postgres{{ else }}{{ .Values.database.host }}{{ end }}
{{- end }}

{{/* The password is libpq's own variable, so that no URI, log or argument holds it: list $ "database" "KEY". */}}
{{- define "pneumonia.database" -}}
{{ include "pneumonia.secretVariable" (list (index . 0) "PGPASSWORD" (index . 2)) }}
{{- with (index . 0).Values.database.sslmode }}
- {name: PGSSLMODE, value: {{ . }}}
{{- end }}
{{- if (index . 0).Values.database.caSecretName }}
- {name: PGSSLROOTCERT, value: /etc/postgresql-ca/ca.crt}
{{- end }}
{{- end }}

{{- define "pneumonia.databaseMount" -}}
{{- if .Values.database.caSecretName }}
- {name: database-ca, mountPath: /etc/postgresql-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "pneumonia.databaseVolume" -}}
{{- with .Values.database.caSecretName }}
- name: database-ca
  secret: {secretName: {{ . }}, defaultMode: 292}  # 0444
{{- end }}
{{- end }}

{{- define "pneumonia.databaseURI" -}}
postgresql+psycopg2://{{ index . 1 }}@{{ include "pneumonia.databaseHost" (index . 0) }}:{{ (index . 0).Values.database.port }}/{{ index . 1 }}
{{- end }}

{{- define "pneumonia.mlflowURI" -}}
{{- if .Values.mlflow.enabled }}http://{{ include "pneumonia.fullname" . }}-mlflow:5000{{ else }}{{ .Values.mlflow.uri }}{{ end }}
{{- end }}

{{/* Whether MLflow's files are in a volume and not in an object store. */}}
{{- define "pneumonia.artifactVolume" -}}
{{- if hasPrefix "/" .Values.mlflow.artifacts.destination }}yes{{ end }}
{{- end }}

{{/* Whether anything of the release has tables in a database. */}}
{{- define "pneumonia.usesDatabase" -}}
{{- if or .Values.mlflow.enabled .Values.serving.record }}yes{{ end }}
{{- end }}
