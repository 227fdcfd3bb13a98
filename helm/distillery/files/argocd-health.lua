-- Health of a Distillation for Argo CD: Stalled is Degraded, Ready is Healthy, suspended is Suspended.
local health = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see the change"
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, stalled, suspended = found["Ready"], found["Stalled"], found["Suspended"]
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = stalled.message }
end
if suspended ~= nil and suspended.status == "True" then
  return { status = "Suspended", message = suspended.message }
end
if ready ~= nil and ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
if ready ~= nil and ready.message ~= nil then
  health.message = ready.message
end
return health
