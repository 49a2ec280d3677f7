-- Orthanc: send each CR and DX series to lungseg once it is complete. The results have other modalities: no loop.
function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CR' or tags['Modality'] == 'DX' then
    RestApiPost('/modalities/lungseg/store', DumpJson({Resources = {seriesId}, Asynchronous = true}), true)
  end
end
