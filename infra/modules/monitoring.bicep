// Where the telemetry goes, who is told when something is wrong, and the workbook. The queries are files in
// infra/queries, checked by their vendor's language service. No alert looks at what the host's lock-lost line touches
// (its error in the log, the namespace's UserErrors): one after each dead letter is expected, docs/monitoring.md.

@description('First part of the names.')
param namePrefix string

@description('Last part of the names.')
param suffix string

@description('Service Bus namespace.')
param namespaceName string

@description('Queue.')
param queueName string

@description('Where alerts are mailed to.')
param alertEmail string

@description('Days for which logs are kept.')
param logRetentionDays int

@description('Azure region.')
param location string

@description('Tags.')
param tags object

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${namePrefix}-logs-${suffix}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logRetentionDays
    features: {
      disableLocalAuth: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${namePrefix}-insights-${suffix}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

// Brings the queue's metrics into the workspace, for alert-nothing-handled.kql.
resource namespaceMetrics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'metrics-to-workspace'
  scope: namespace
  properties: {
    workspaceId: workspace.id
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${namePrefix}-people-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'cancel-job'
    emailReceivers: [
      {
        name: 'people'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

// Each fires when its query has a row. Severity and window are those that the head of the query names. splitBy: columns
// whose values are an alert each. One that has fired does not fire again before it is resolved: without them the letter of
// a wrong sender would hide those of an outage.
var queryAlerts = [
  {
    name: 'dead-letters'
    title: 'Cancellations became dead letters'
    query: loadTextContent('../queries/alert-dead-letters.kql')
    severity: 2
    window: 'PT15M'
    splitBy: ['reason']
  }
  {
    name: 'oldest-message'
    title: 'Cancellations come late'
    query: loadTextContent('../queries/alert-oldest-message.kql')
    severity: 2
    window: 'PT45M'
    splitBy: []
  }
  {
    name: 'failure-rate'
    title: 'Many cancellations fail'
    query: loadTextContent('../queries/alert-failure-rate.kql')
    severity: 2
    window: 'PT15M'
    splitBy: []
  }
  {
    name: 'environment-faults'
    title: 'A setting, a right or a certificate keeps cancellations from working'
    query: loadTextContent('../queries/alert-environment-faults.kql')
    severity: 1
    window: 'PT45M'
    splitBy: ['reason']
  }
  {
    name: 'nothing-handled'
    title: 'Messages came, and none was handled'
    query: loadTextContent('../queries/alert-nothing-handled.kql')
    severity: 2
    window: 'PT6H'
    splitBy: []
  }
]

resource queryRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in queryAlerts: {
    name: '${namePrefix}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alert.title
      description: 'What to do: docs/monitoring.md, alert-${alert.name}.'
      severity: alert.severity
      enabled: true
      scopes: [workspace.id]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [
              for column in alert.splitBy: {
                name: column
                operator: 'Include'
                values: ['*']
              }
            ]
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      autoMitigate: true
      skipQueryValidation: true // the workspace has its tables only after the first telemetry
      actions: {
        actionGroups: [people.id]
      }
    }
  }
]

// What the broker alone knows and does not write to logs: dead letters of its own making (time to live, too many
// deliveries), and messages that wait while none is completed. Postponed ones are scheduled, not active: an outage of
// Job Router fires neither.
var metricAlerts = [
  {
    name: 'dead-letter-queue'
    title: 'The dead-letter queue is not empty'
    severity: 3
    window: 'PT5M'
    conditions: [
      { metric: 'DeadletteredMessages', aggregation: 'Maximum', operator: 'GreaterThan', threshold: 0 }
    ]
  }
  {
    name: 'messages-wait'
    title: 'Messages wait, and none is completed'
    severity: 1
    window: 'PT15M'
    conditions: [
      { metric: 'ActiveMessages', aggregation: 'Minimum', operator: 'GreaterThan', threshold: 0 }
      { metric: 'CompleteMessage', aggregation: 'Total', operator: 'LessThan', threshold: 1 }
    ]
  }
]

resource metricRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alert in metricAlerts: {
    name: '${namePrefix}-${alert.name}'
    location: 'global'
    tags: tags
    properties: {
      description: '${alert.title}. What to do: docs/monitoring.md.'
      severity: alert.severity
      enabled: true
      scopes: [namespace.id]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          for condition in alert.conditions: {
            name: condition.metric
            criterionType: 'StaticThresholdCriterion'
            metricNamespace: 'Microsoft.ServiceBus/namespaces'
            metricName: condition.metric
            timeAggregation: condition.aggregation
            operator: condition.operator
            threshold: condition.threshold
            dimensions: [
              { name: 'EntityName', operator: 'Include', values: [queueName] }
            ]
          }
        ]
      }
      autoMitigate: true
      actions: [
        { actionGroupId: people.id }
      ]
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspace.id, 'cancel-job-workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Cancellations of Job Router jobs'
    category: 'workbook'
    sourceId: toLower(workspace.id)
    version: 'Notebook/1.0'
    // The file names no resource; what its queries are asked of is known only here.
    serializedData: replace(loadTextContent('../workbook.json'), '"fallbackResourceIds": []', '"fallbackResourceIds": ["${workspace.id}"]')
  }
}

output insightsName string = insights.name
output workspaceId string = workspace.properties.customerId
