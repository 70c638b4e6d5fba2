// Everything that the function needs in one resource group, but for the Communication Services resource, which exists.
// No secret is made, read or put out here: each connection is the app's own identity.
// docs/deploy.md has the commands, and says what could not be verified without Azure.

targetScope = 'resourceGroup'

@description('First part of the names of all resources: lower-case letters and digits, beginning with a letter.')
@minLength(3)
@maxLength(12)
param namePrefix string = 'canceljob'

@description('Azure region of everything made here: az functionapp list-flexconsumption-locations lists the possible.')
@minLength(3)
param location string = resourceGroup().location

@description('Tags for every resource.')
param tags object = {}

@description('Name of the Communication Services resource whose Job Router jobs are cancelled. It has to exist.')
@minLength(1)
@maxLength(63)
param communicationServicesName string

@description('Resource group of the Communication Services resource.')
@minLength(1)
@maxLength(90)
param communicationServicesResourceGroup string = resourceGroup().name

@description('URI of a Key Vault secret that holds the Job Router connection string. Empty: the app signs in with its identity.')
@maxLength(500)
param jobRouterVaultUri string = ''

@description('Queue that the cancellations arrive on.')
@minLength(1)
@maxLength(260)
param queueName string = 'job-cancellations'

@description('Drop a message whose MessageId came within the last ten minutes. Cannot be changed once the queue exists.')
param duplicateDetection bool = true

@description('Where alerts are mailed to.')
@minLength(6)
@maxLength(254)
param alertEmail string

@description('Most instances at a time. Each calls Job Router with up to maxConcurrentCalls (host.json) requests at once.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that are always running, paid for also when idle. 0: the first message after a pause waits for a cold start.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 0

@description('Memory of an instance in MB; its share of CPU grows with it.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Seconds until connecting to Job Router is given up.')
@minValue(1)
@maxValue(60)
param jobRouterConnectTimeoutSeconds int = 5

@description('Seconds until waiting for an answer of Job Router is given up.')
@minValue(1)
@maxValue(60)
param jobRouterReadTimeoutSeconds int = 15

@description('Longest wait after the first attempt, in seconds.')
@minValue(1)
@maxValue(3600)
param redeliveryFirstDelaySeconds int = 15

@description('Longest wait between any two attempts, in seconds.')
@minValue(1)
@maxValue(86400)
param redeliveryLongestDelaySeconds int = 1800

@description('Seconds from the first attempt at a message to its dead letter.')
@minValue(1)
@maxValue(2592000)
param redeliveryGiveUpAfterSeconds int = 28800

@description('Seconds since its sending for which a message waits for a job that Job Router does not know yet; 0: none.')
@minValue(0)
@maxValue(86400)
param jobNotFoundGraceSeconds int = 0

@description('OpenTelemetry in the worker. Needs the line of requirements-telemetry.txt in requirements.txt, and costs cold start.')
param openTelemetry bool = false

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

var suffix = uniqueString(resourceGroup().id, namePrefix)
var functionAppName = '${namePrefix}-${suffix}'

resource communication 'Microsoft.Communication/communicationServices@2023-04-01' existing = {
  name: communicationServicesName
  scope: resourceGroup(communicationServicesResourceGroup)
}

// Assigned by the user, not by the system: it has its rights before the app starts for the first time, and keeps them
// when the app is made anew.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${namePrefix}-id-${suffix}'
  location: location
  tags: tags
}

module serviceBus 'modules/service-bus.bicep' = {
  name: 'service-bus'
  params: {
    namespaceName: '${namePrefix}-bus-${suffix}'
    queueName: queueName
    duplicateDetection: duplicateDetection
    giveUpAfterSeconds: redeliveryGiveUpAfterSeconds
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    storageName: take('st${suffix}${namePrefix}', 24)
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    namePrefix: namePrefix
    suffix: suffix
    namespaceName: serviceBus.outputs.namespaceName
    queueName: serviceBus.outputs.queueName
    alertEmail: alertEmail
    logRetentionDays: logRetentionDays
    location: location
    tags: tags
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    principalId: identity.properties.principalId
    namespaceName: serviceBus.outputs.namespaceName
    queueName: serviceBus.outputs.queueName
    storageName: storage.outputs.storageName
    insightsName: monitoring.outputs.insightsName
  }
}

module jobRouterRole 'modules/job-router-role.bicep' = if (empty(jobRouterVaultUri)) {
  name: 'job-router-role-${suffix}'
  scope: resourceGroup(communicationServicesResourceGroup)
  params: {
    principalId: identity.properties.principalId
    communicationServicesName: communicationServicesName
  }
}

module functionApp 'modules/function-app.bicep' = {
  name: 'function-app'
  params: {
    functionAppName: functionAppName
    planName: '${namePrefix}-plan-${suffix}'
    identityName: identity.name
    storageName: storage.outputs.storageName
    packageContainerName: storage.outputs.packageContainerName
    insightsName: monitoring.outputs.insightsName
    namespaceHost: serviceBus.outputs.namespaceHost
    queueName: serviceBus.outputs.queueName
    jobRouterEndpoint: 'https://${communication.properties.hostName}'
    jobRouterVaultUri: jobRouterVaultUri
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    instanceMemoryMB: instanceMemoryMB
    jobRouterConnectTimeoutSeconds: jobRouterConnectTimeoutSeconds
    jobRouterReadTimeoutSeconds: jobRouterReadTimeoutSeconds
    jobNotFoundGraceSeconds: jobNotFoundGraceSeconds
    redeliveryFirstDelaySeconds: redeliveryFirstDelaySeconds
    redeliveryLongestDelaySeconds: redeliveryLongestDelaySeconds
    redeliveryGiveUpAfterSeconds: redeliveryGiveUpAfterSeconds
    openTelemetry: openTelemetry
    location: location
    tags: tags
  }
  dependsOn: [roles] // an app that starts without its rights fails until somebody restarts it
}

@description('For func azure functionapp publish, az functionapp and the GitHub variable AZURE_FUNCTION_APP.')
output functionAppName string = functionAppName

@description('For senders and for python -m ops --queue.')
output queueName string = serviceBus.outputs.queueName

@description('For senders and for python -m ops --namespace.')
output namespaceHost string = serviceBus.outputs.namespaceHost

@description('For az servicebus.')
output namespaceName string = serviceBus.outputs.namespaceName

@description('For az role assignment list, and to grant the app rights elsewhere.')
output identityPrincipalId string = identity.properties.principalId

@description('For az monitor log-analytics query.')
output workspaceId string = monitoring.outputs.workspaceId

@description('Job Router, as the app calls it.')
output jobRouterEndpoint string = 'https://${communication.properties.hostName}'
