// The Flex Consumption plan and the app. Every setting is said here, also where it is the code's own default: what is
// changed by hand in the portal is put back by the next deployment. docs/deploy.md has the table.

@description('Name of the app, unique in Azure.')
@minLength(2)
@maxLength(60)
param functionAppName string

@description('Name of the plan.')
param planName string

@description('User-assigned identity that the app runs as.')
param identityName string

@description('Storage account of the Functions host.')
param storageName string

@description('Blob container of the published package.')
param packageContainerName string

@description('Application Insights component.')
param insightsName string

@description('Fully qualified name of the Service Bus namespace.')
param namespaceHost string

@description('Queue.')
param queueName string

@description('Job Router endpoint, used with the identity.')
param jobRouterEndpoint string

@description('URI of the Key Vault secret with the connection string, used instead of the identity when not empty.')
param jobRouterVaultUri string

@description('Most instances at a time.')
param maximumInstanceCount int

@description('Instances that are always running.')
param alwaysReadyInstances int

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('JOB_ROUTER_CONNECT_TIMEOUT_SECONDS.')
param jobRouterConnectTimeoutSeconds int

@description('JOB_ROUTER_READ_TIMEOUT_SECONDS.')
param jobRouterReadTimeoutSeconds int

@description('JOB_NOT_FOUND_GRACE_SECONDS.')
param jobNotFoundGraceSeconds int

@description('REDELIVERY_FIRST_DELAY_SECONDS.')
param redeliveryFirstDelaySeconds int

@description('REDELIVERY_LONGEST_DELAY_SECONDS.')
param redeliveryLongestDelaySeconds int

@description('REDELIVERY_GIVE_UP_AFTER_SECONDS.')
param redeliveryGiveUpAfterSeconds int

@description('CANCEL_JOB_OPENTELEMETRY.')
param openTelemetry bool

@description('Azure region.')
param location string

@description('Tags.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: identityName
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true // Linux
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: functionAppName
  location: location
  tags: union(tags, { 'azd-service-name': 'cancel-job' }) // how azd finds it: azure.yaml
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packageContainerName}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: alwaysReadyInstances == 0 ? [] : [
          {
            name: 'function:cancel_job_function'
            instanceCount: alwaysReadyInstances
          }
        ]
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
    }
  }
}

// Exactly one of the two: the code refuses both and neither.
var jobRouterSetting = empty(jobRouterVaultUri)
  ? { JOB_ROUTER_ENDPOINT: jobRouterEndpoint }
  : { JOB_ROUTER_CONNECTION_STRING: '@Microsoft.KeyVault(SecretUri=${jobRouterVaultUri})' }

var settings = {
  // the Functions host
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString // names the component; opens nothing
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
  // the queue, for the trigger and for the function's own dead-lettering and postponing
  CANCELLATION_QUEUE_NAME: queueName
  ServiceBusConnection__fullyQualifiedNamespace: namespaceHost
  ServiceBusConnection__credential: 'managedidentity'
  ServiceBusConnection__clientId: identity.properties.clientId
  // Job Router
  AZURE_CLIENT_ID: identity.properties.clientId // which identity DefaultAzureCredential takes
  JOB_ROUTER_CONNECT_TIMEOUT_SECONDS: string(jobRouterConnectTimeoutSeconds)
  JOB_ROUTER_READ_TIMEOUT_SECONDS: string(jobRouterReadTimeoutSeconds)
  JOB_NOT_FOUND_GRACE_SECONDS: string(jobNotFoundGraceSeconds)
  REDELIVERY_FIRST_DELAY_SECONDS: string(redeliveryFirstDelaySeconds)
  REDELIVERY_LONGEST_DELAY_SECONDS: string(redeliveryLongestDelaySeconds)
  REDELIVERY_GIVE_UP_AFTER_SECONDS: string(redeliveryGiveUpAfterSeconds)
  // As many threads as the host sends messages at once: docs/decisions/0004-concurrency.md.
  PYTHON_THREADPOOL_THREAD_COUNT: string(loadJsonContent('../../host.json').extensions.serviceBus.maxConcurrentCalls)
  CANCEL_JOB_OPENTELEMETRY: string(openTelemetry)
}

resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(settings, jobRouterSetting)
}

// No user name and password for publishing: only who signs in with Microsoft Entra ID.
resource noBasicPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = [
  for way in ['scm', 'ftp']: {
    parent: app
    name: way
    properties: {
      allow: false
    }
  }
]
