// The namespace and the queue. Each value of the queue is there for the sake of the policy (shared/policy.py,
// docs/decisions/0006-redelivery.md); tests/infra/test_queue.py holds them against it.

@description('Name of the namespace, unique in Azure.')
@minLength(6)
@maxLength(50)
param namespaceName string

@description('Name of the queue.')
@minLength(1)
@maxLength(260)
param queueName string

@description('Drop a message whose MessageId came within the last ten minutes.')
param duplicateDetection bool

@description('REDELIVERY_GIVE_UP_AFTER_SECONDS, which the time to live has to exceed.')
@minValue(1)
@maxValue(2592000)
param giveUpAfterSeconds int

@description('Azure region.')
param location string

@description('Tags.')
param tags object

// Days that a message may wait for a worker before its first attempt: a week's holiday of whoever stopped the app.
var waitingDays = 7
var tryingDays = giveUpAfterSeconds / 86400 + 1

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: 'Standard' // Basic has no scheduled messages, which delayed redelivery is made of
    tier: 'Standard'
  }
  properties: {
    disableLocalAuth: true // no keys: senders, too, come with an identity and Azure Service Bus Data Sender
    minimumTlsVersion: '1.2'
    publicNetworkAccess: 'Enabled' // private endpoints need the Premium tier: docs/deploy.md
  }
}

resource queue 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: queueName
  properties: {
    // The longest there is. A message is held for up to four minutes when it cannot be postponed, which is when the
    // broker has trouble and a renewal may fail as well: it then stays locked all the same. The price: what a crashed
    // instance held comes back after up to five minutes.
    lockDuration: 'PT5M'
    // Only deliveries that end in raising or a crash count; postponing makes a new message. Held for longer and longer,
    // thirty last for an hour and three quarters (ten, the default, for half an hour): time to wake somebody up who
    // gives back a right that was taken away, or makes room in a full queue.
    maxDeliveryCount: 30
    // Longer than the function tries, after a week without a worker. A copy for a later attempt has what is left.
    defaultMessageTimeToLive: 'P${waitingDays + tryingDays}D'
    deadLetteringOnMessageExpiration: true // else an expired cancellation vanishes without a trace
    // Spares a sender that repeats itself, and a resubmitted dead letter that is sent twice, a second delivery. Copies
    // for later attempts have ids of their own. A sender that gives another cancellation the same id within the window
    // loses it without a word: docs/deploy.md.
    requiresDuplicateDetection: duplicateDetection
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    maxSizeInMegabytes: 5120 // waiting copies take room; a full queue takes no more of them
    enablePartitioning: false // not tried with this function
    requiresSession: false // its trigger receives nothing from a queue with sessions
  }
}

output namespaceName string = namespace.name
output queueName string = queue.name
output namespaceHost string = '${namespace.name}.servicebus.windows.net'
