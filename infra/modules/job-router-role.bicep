// What the app's identity may do on the Communication Services resource: use Job Router. Azure has no role for that
// alone. This is the narrowest built-in one known to be accepted, and it is wide: it may also read the resource's keys
// and delete the resource. docs/deploy.md says how to try a narrower one, and how to do without (an access key).

@description('Object id of the identity that the app runs as.')
@minLength(36)
@maxLength(36)
param principalId string

@description('Communication Services resource in this resource group.')
@minLength(1)
@maxLength(63)
param communicationServicesName string

var roleIds = {
  'Communication and Email Service Owner': '09976791-48a7-449e-bb21-39d1a415f350'
}

resource communication 'Microsoft.Communication/communicationServices@2023-04-01' existing = {
  name: communicationServicesName
}

resource jobRouter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(communication.id, principalId, 'Communication and Email Service Owner')
  scope: communication
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds['Communication and Email Service Owner'])
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
